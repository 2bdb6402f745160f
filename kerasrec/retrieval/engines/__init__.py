"""What an index finds the best candidates with: NumPy, exactly; or another library's approximate index."""
