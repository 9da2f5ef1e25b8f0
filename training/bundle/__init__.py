"""What training hands to serving: a folder of plain files that prove themselves."""
