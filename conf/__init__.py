"""Configuration: YAML groups, their schemas, and plain flags in front of Hydra."""
