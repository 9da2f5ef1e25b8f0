"""Arbitration: turning propensity, value and cost into one order."""
