"""From counts to whitened circular harmonics with known noise, and to the few of them that carry signal.

Rings and orders (`rings`), the plain transforms (`circular`), their fast form (`analyser`), whitening, the
exact noise (`noise`), the static background, turning (`rotation`), the basis (`steerable_pca`,
`basis_patterns`), and the pass over a scan (`reduce`, `store`).
"""
