"""The shape of each file of a playbook. A key that nothing enforces is refused, never ignored."""
