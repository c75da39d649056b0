"""What a stranger ships: one method, one family of plain classifiers, one task."""
