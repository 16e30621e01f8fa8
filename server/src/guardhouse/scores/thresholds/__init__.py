"""The older score against thresholds that receivers chose: told once per process, threshold and episode."""
