"""The fleet: workers that wait for runs, share them by leases, and make versions of them."""
