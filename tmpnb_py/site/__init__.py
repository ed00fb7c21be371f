"""The site: all pools of one service with their claims. The proxy and the web layer ask it for pools and sessions."""
