//go:build pinned

// Package pinned names what is built here, so that go.mod and go.sum pin it.
package pinned

import _ "github.com/Shopify/toxiproxy/v2/cmd/server"
