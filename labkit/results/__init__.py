"""Results: stored, validated, compared and shown."""
