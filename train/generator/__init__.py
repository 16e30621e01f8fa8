"""Training texts written by this project: phrase files, seeded expansion and the families made from them."""
