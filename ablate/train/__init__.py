"""Training one arm and seed under Lightning."""
