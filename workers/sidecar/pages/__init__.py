"""The operators' pages: server-rendered HTML that answers what somebody asks who was woken up."""
