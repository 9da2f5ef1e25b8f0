"""Deciding, without transport, store or clock."""
