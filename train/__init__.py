"""Training of the detection model: generator, folds, fit, calibration and the file that the server reads."""
