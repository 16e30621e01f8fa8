"""The processes that report in: who they are, how they are doing, and what of what they captured has arrived."""
