"""The engine of the in-app agent: from a call in the app to a batch that the server has confirmed.

Read in the order of the data: `inbox`, `serialise`, `gather`, `seal`, `spool`, `lane`, `send`, `read_answer`; `engine`
puts them together and `worker` runs them.
"""
