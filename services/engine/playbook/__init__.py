"""The playbook: one folder of business configuration, checked and versioned by its content."""
