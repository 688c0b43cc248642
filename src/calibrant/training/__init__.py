"""Training: recipes, stages, runs. Each module is loaded when it is imported, Lightning only by the runner."""
