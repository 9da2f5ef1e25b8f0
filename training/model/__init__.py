"""From rows to a calibrated model: boosting, calibration, priors."""
