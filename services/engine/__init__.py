"""The pure core that gateway, features, profile, training and the command line share."""
