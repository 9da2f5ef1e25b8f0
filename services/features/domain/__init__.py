"""What an event must be, and where it belongs; pure."""
