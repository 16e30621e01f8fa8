"""What both middlewares are made of: who asks, what is reported, what is refused."""
