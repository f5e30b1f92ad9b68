"""From records to a trained pair: recipe, data, tasks, stages."""
