"""Measurement recipes, one per module; they know labthermo and nothing below it."""
