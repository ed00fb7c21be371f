"""The site: all pools of one service with their claims, and what the proxy and the web layer ask of them."""
