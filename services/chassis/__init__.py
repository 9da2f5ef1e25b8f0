"""What every service needs to run, and nothing about what it decides."""
