"""Work that outlives a request and a crash: durable jobs, and processes that outlive who started them."""
