"""Models for other programs: ONNX files, and checkpoints to give away."""
