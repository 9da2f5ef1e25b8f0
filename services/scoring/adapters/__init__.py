"""What the scoring service uses: MLflow's registry, LightGBM."""
