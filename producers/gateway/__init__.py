"""The HTTP gateway: how services in any language hand Penstock their jobs (extra `gateway`)."""
