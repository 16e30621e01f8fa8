"""What became of messages: deliveries with their tries, dead letters, replays."""
