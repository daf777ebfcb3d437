"""The sidecar: metrics, health, the operators' API and pages."""
