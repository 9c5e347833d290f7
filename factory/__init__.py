"""What the factory works with: CT, layouts, geometry, nodules, volumes and the lake. No torch, no Ray."""
