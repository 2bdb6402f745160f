"""Losses over item ids: how well queries tell the item that belongs to them from others."""
