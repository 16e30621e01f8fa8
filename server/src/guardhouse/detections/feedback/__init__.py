"""What people say of detections: attack, benign or unsure; the latest word of each counts."""
