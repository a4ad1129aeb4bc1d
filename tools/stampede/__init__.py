"""The load test behind ``tools/load``: a crowd of edges whose node is killed.

`edges` is the crowd, in processes of its own; `site` the nodes and what is measured of them;
`binds` the registry alone; ``__main__`` the story.
"""
