"""Retrieval, filters, ranking and order as one model: `kr.serving.Recommender`, and what it is made of."""
