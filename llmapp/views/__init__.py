"""The pages for people. What programs use is in `llmapp.api`."""
