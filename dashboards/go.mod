module github.com/surecall/surecall/dashboards

go 1.26.7

replace github.com/surecall/surecall => ../

require (
	github.com/surecall/surecall v0.0.0-00010101000000-000000000000
	go.yaml.in/yaml/v3 v3.0.6
)
