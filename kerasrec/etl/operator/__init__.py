"""What operators are built from: the graph, the base classes, ids and vocabularies."""
