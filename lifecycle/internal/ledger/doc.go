// Package ledger decides who executes a call: of all that come with the same key, one at
// most. It keeps its book in a once.Store, by compare-and-set alone, and knows nothing of
// gRPC.
//
//	               Claim                Settle
//	no record ──────────────▶ running ─────────▶ settled: every Claim gets the outcome
//	                          │  ▲  ▲
//	                          │  │  └─ the claim renews it each Lease/3
//	                  Release │  │ Claim
//	                          ▼  │
//	                          free
//
// Who finds a record running waits for its next version. If none comes within the lease
// that the record names, whoever runs it is taken for dead, and what came of it is
// unknown: nobody executes it again. Time is measured from when one began to look, so
// that the clocks of several processes need not agree; a claim that was only held up
// settles its record whenever it can, and repeats are answered from then on.
package ledger
