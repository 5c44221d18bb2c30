"""Releases freeze all that shapes an answer; gates and approvals judge them."""
