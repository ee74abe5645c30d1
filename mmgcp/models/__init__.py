"""Registered modules: backbones, necks and heads."""
