"""Features: declared once in the playbook, computed by the same code online and in training."""
