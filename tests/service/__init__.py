"""Tests of what a served node says to programs and operators."""
