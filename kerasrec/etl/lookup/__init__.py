"""Lookups by value: keys to ids, hash functions, weighted draws, membership in sets."""
