module github.com/surecall/surecall/dashboards

go 1.26.7

replace github.com/surecall/surecall => ../
