"""The words of other tools, each put into the members of a host event (events-and-risk §6.3)."""
