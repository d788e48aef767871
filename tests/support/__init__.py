"""What tests against real clusters share: a portside process, a prober, Kubernetes objects to forward to."""
