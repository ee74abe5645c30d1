"""Pure torch layers: covariance, matrix functions, channel dropout."""
