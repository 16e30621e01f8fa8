"""What happened in a project by the minute: sealed once, later arrivals as corrections; for engines that look on."""
